//! A model is a struct.

use threadline::Audited;

#[derive(Audited)]
enum User {
    Known,
}

fn main() {}
