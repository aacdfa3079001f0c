fn main() { println!("orders {}", money::total()) }
