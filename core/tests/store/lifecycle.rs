//! Tests of the life cycle of a store on disk: what is kept, what is removed and what is set aside.

mod sets_aside;
