//! Placeholder until the first real item.
