//! Knows what others liked: HTTP, nothing but the standard library.
//!
//!     POST /bought/SKU     one more was bought
//!     GET  /recommended    ["lamp", "kettle"]: at most three, the most bought first
//!     GET  /healthz        200
//!
//! The counts live in memory and end with the process: nice to have, and the shop does without.

mod http;
mod liked;

use http::Answer;
use liked::Liked;
use std::env;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

fn answer(method: &str, path: &str, liked: &Liked) -> Answer {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (method, parts.as_slice()) {
        ("GET", ["healthz"]) => Answer::ok("{\"ok\": true}"),
        ("GET", ["recommended"]) => {
            let quoted: Vec<String> = liked
                .most(3)
                .iter()
                .map(|sku| format!("\"{sku}\""))
                .collect();
            Answer::ok(format!("[{}]", quoted.join(", ")))
        }
        ("POST", ["bought", sku]) if liked::is_sku(sku) => {
            Answer::ok(format!("{{\"bought\": {}}}", liked.bought(sku)))
        }
        _ => Answer::new(404, "{\"error\": \"no such page\"}"),
    }
}

fn serve(connection: TcpStream, liked: &Liked) {
    // Whatever goes wrong on a connection ends that connection only.
    if let Err(problem) = http::serve(connection, |method, path| answer(method, path, liked)) {
        eprintln!("a connection ended early: {problem}");
    }
}

fn main() {
    let port = env::var("PORT").expect("PORT says where to listen");
    let host = env::var("HOST").unwrap_or_else(|_| "127.0.0.1".to_string());
    let listener = TcpListener::bind(format!("{host}:{port}")).expect("the port is free");
    let liked = Arc::new(Liked::default());
    println!("recommendations on port {port}");
    for connection in listener.incoming().flatten() {
        let liked = Arc::clone(&liked);
        thread::spawn(move || serve(connection, &liked));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    /// Sends `requests` over one connection; everything that comes back until it closes.
    fn talk(requests: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (connection, _) = listener.accept().unwrap();
        let server = thread::spawn(move || serve(connection, &Liked::default()));
        client.write_all(requests.as_bytes()).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        server.join().unwrap();
        said
    }

    #[test]
    fn what_was_bought_is_recommended_over_the_same_connection() {
        let said = talk(concat!(
            "POST /bought/lamp HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
            "GET /recommended HTTP/1.1\r\nHost: shop\r\n\r\n",
        ));
        assert_eq!(said.matches("HTTP/1.1 200").count(), 2, "{said}");
        assert!(
            said.contains("{\"bought\": 1}") && said.ends_with("[\"lamp\"]"),
            "{said}"
        );
    }

    #[test]
    fn a_caller_that_wants_to_end_the_connection_is_obeyed() {
        let said =
            talk("GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n");
        assert_eq!(said.matches("HTTP/1.1").count(), 1, "{said}");
    }

    #[test]
    fn what_is_no_sku_is_not_counted() {
        assert!(talk("POST /bought/%22 HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
    }
}
