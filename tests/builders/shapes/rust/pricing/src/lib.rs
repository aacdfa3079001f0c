//! Knows what things cost.

use serde_json::{Map, Value};

/// Every price by its article.
pub fn prices() -> Map<String, Value> {
    serde_json::from_str(include_str!("prices.json")).expect("prices.json is a part of this crate")
}
