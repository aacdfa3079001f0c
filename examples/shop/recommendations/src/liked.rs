//! How often what was bought.

use std::collections::HashMap;
use std::sync::Mutex;

const MOST_SKUS: usize = 10_000; // nobody sells more; beyond it new ones are not counted

#[derive(Default)]
pub struct Liked {
    counts: Mutex<HashMap<String, u64>>,
}

impl Liked {
    /// Counts one; how often that was bought by now.
    pub fn bought(&self, sku: &str) -> u64 {
        let mut counts = self.counts.lock().unwrap();
        if counts.len() >= MOST_SKUS && !counts.contains_key(sku) {
            return 0;
        }
        let count = counts.entry(sku.to_string()).or_default();
        *count += 1;
        *count
    }

    /// The most bought ones, the first of the alphabet first where they are equal.
    pub fn most(&self, limit: usize) -> Vec<String> {
        let counts = self.counts.lock().unwrap();
        let mut skus: Vec<(&String, &u64)> = counts.iter().collect();
        skus.sort_by(|(one, some), (other, more)| more.cmp(some).then(one.cmp(other)));
        skus.into_iter()
            .take(limit)
            .map(|(sku, _)| sku.clone())
            .collect()
    }
}

/// Letters, digits and hyphens: nothing that JSON or a path would need to escape.
pub fn is_sku(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_bought_come_first_and_no_more_than_asked_for() {
        let liked = Liked::default();
        for sku in ["sofa", "lamp", "kettle", "lamp", "desk"] {
            liked.bought(sku);
        }
        assert_eq!(liked.most(3), ["lamp", "desk", "kettle"]);
    }

    #[test]
    fn nothing_bought_is_nothing_recommended() {
        assert!(Liked::default().most(3).is_empty());
    }

    #[test]
    fn a_sku_needs_no_escaping() {
        assert!(is_sku("lamp-2"));
        assert!(!is_sku("") && !is_sku("a\"b") && !is_sku("%20"));
    }
}
