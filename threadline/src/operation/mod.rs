//! Keeping it healthy: what runs beside the application for years.

pub mod exports;
