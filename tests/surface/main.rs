//! The pages for operators, asked as a browser asks.

mod browser;
mod gates;
mod hostile;
mod pages;
mod site;
