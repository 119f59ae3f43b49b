//! What is fuzzed holds on the committed corpus, and on what is made of it.

#[path = "../../../fuzz/bodies/mod.rs"]
mod bodies;
mod corpus;
mod mutate;
mod mutation;
