//! As much of HTTP/1.1 as callers behind a proxy use: requests one after the other over a kept connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

const MAX_LINE_BYTES: u64 = 8192;
const MAX_BODY_BYTES: u64 = 65_536;

pub struct Answer {
    status: u16,
    body: String,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<String>) -> Answer {
        Answer {
            status,
            body: body.into(),
        }
    }

    pub fn ok(body: impl Into<String>) -> Answer {
        Answer::new(200, body)
    }
}

/// Answers every request of a connection, until the caller ends it or says what is no HTTP.
pub fn serve(connection: TcpStream, handle: impl Fn(&str, &str) -> Answer) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut writing = connection.try_clone()?;
    let mut reading = BufReader::new(connection);
    while let Some(start) = line(&mut reading)? {
        let mut words = start.split(' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let (mut body_bytes, mut last) = (0, false);
        while let Some(header) = line(&mut reading)?.filter(|text| !text.is_empty()) {
            let (name, value) = header.split_once(':').unwrap_or((&header, ""));
            match name.to_ascii_lowercase().as_str() {
                "content-length" => {
                    body_bytes = value
                        .trim()
                        .parse()
                        .map_err(|_| broken("a length that is no number"))?
                }
                "connection" => last = value.trim().eq_ignore_ascii_case("close"),
                "transfer-encoding" => return Err(broken("a body in chunks")),
                _ => {}
            }
        }
        if body_bytes > MAX_BODY_BYTES {
            return Err(broken("a body that is too long"));
        }
        io::copy(&mut reading.by_ref().take(body_bytes), &mut io::sink())?; // no request needs one
        let Answer { status, body } = handle(method, path);
        let reason = if status == 200 { "OK" } else { "Not Found" };
        let kept = if last { "close" } else { "keep-alive" };
        let head = format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nConnection: {kept}"
        );
        // At once: head and body in two packets would wait for each other.
        writing.write_all(
            format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes(),
        )?;
        if last {
            break;
        }
    }
    Ok(())
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The next line without its end; None where the caller has ended.
fn line(reading: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut text = String::new();
    if reading.take(MAX_LINE_BYTES).read_line(&mut text)? == 0 {
        return Ok(None);
    }
    Ok(Some(text.trim_end().to_string()))
}
