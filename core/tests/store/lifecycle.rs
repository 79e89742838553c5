//! Tests of the life cycle of a store on disk: what is kept, what is removed and what is set aside.

mod faults;
mod releases;
mod removes;
mod sets_aside;
mod verifies;
