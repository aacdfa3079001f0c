pub fn total() -> String { include_str!("../../../shared/rates/eur.txt").trim().to_string() }
