//! The house rules that the compiler cannot check.
//!
//! Floors, circles, the Never list, what only some modules may touch, the form of files.
//! To change a rule, edit the tables in `rules.rs`. Everything here works on a [`house::House`], a
//! map of file to text, so that `self_tests` can show on tiny made-up houses that each rule fires.

mod circles;
mod form;
mod house;
mod imports;
mod inspect;
mod names;
mod reading;
mod real_house;
mod rules;
mod self_tests;
mod sql;
mod words;
