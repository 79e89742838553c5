//! The life cycle of a store: what becomes of its files after they were stored.

pub(crate) mod set_aside;
