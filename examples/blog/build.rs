//! Has `embed_migrations!` look again when a migration was added: Cargo does not watch the folder by itself.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
