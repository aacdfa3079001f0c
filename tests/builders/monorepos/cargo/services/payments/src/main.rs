fn main() { println!("payments {} {}", money::total(), mail::sent()) }
