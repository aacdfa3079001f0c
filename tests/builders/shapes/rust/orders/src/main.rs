use std::env;
use std::error::Error;

use tiny_http::{Response, Server};

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let server = Server::http(("127.0.0.1", env::var("PORT")?.parse::<u16>()?))?;
    for request in server.incoming_requests() {
        let prices = pricing::prices();
        let text = format!("release 1: {} prices, {}", prices.len(), prices["tea"]);
        request.respond(Response::from_string(text))?;
    }
    Ok(())
}
