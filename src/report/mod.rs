//! Reports: what was checked, as a document. One file per output format.
//! Data in, text out; prints nothing.

pub mod catalogue;
pub mod document;
pub mod hash;
pub mod text;

pub use catalogue::CatalogueDocument;
pub use document::{ClockSource, ReportDocument};
pub use hash::HashDocument;
