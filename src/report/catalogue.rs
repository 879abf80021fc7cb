//! The output of `verify --catalogue --json`.

use schemars::JsonSchema;
use serde::Serialize;

use super::ReportDocument;
use crate::finding::Verdict;

/// Every artifact in a directory, and one verdict over all.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CatalogueDocument {
    /// Always `https://weighbridge.dev/catalogue/v1`.
    pub schema: String,
    /// The worst of them.
    pub verdict: Verdict,
    /// How many there are.
    pub artifacts: usize,
    pub pass: usize,
    pub fail: usize,
    pub inconclusive: usize,
    /// Files that belong to no artifact.
    pub strays: Vec<String>,
    /// Links, which are not followed.
    pub links: Vec<String>,
    /// One for each artifact, in byte order of their paths.
    pub reports: Vec<ReportDocument>,
}

/// The `schema` of the document.
pub const CATALOGUE: &str = "https://weighbridge.dev/catalogue/v1";
