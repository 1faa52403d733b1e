//! Which addresses and URLs a tool may reach: as `assay` reads them.

pub use assay::address::refusal;
pub use assay::link::{Prefix, URL_BYTES_MAX, literal, parse_url, resource};
