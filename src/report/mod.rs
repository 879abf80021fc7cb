//! Reports: what was checked, as a document. One file per output format.
//! Data in, text out; prints nothing.

pub mod document;
pub mod hash;
pub mod text;

pub use document::ReportDocument;
pub use hash::HashDocument;
