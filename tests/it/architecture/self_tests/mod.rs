//! Every rule fires on a made-up house that breaks it, and on no other.

mod circles;
mod floors;
mod form;
mod made_up;
mod never;
mod only;
