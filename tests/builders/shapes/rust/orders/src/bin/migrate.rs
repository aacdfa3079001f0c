//! A second program beside the service: which one runs, the service's name says.

fn main() {
    println!(
        "{}",
        serde_json::json!({ "migrated": pricing::prices().len() })
    );
}
