use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;

fn ask(method: &str, headers: &str, body: &str) -> Result<String, Box<dyn Error>> {
    let token = std::env::var("RINGFORT_TOKEN")?;
    let path = "/v1/kv/bucket/key";
    let mut node = TcpStream::connect("127.0.0.1:7480")?;
    write!(
        node,
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:7480\r\n\
         Authorization: Bearer {token}\r\nConnection: close\r\n{headers}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    node.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn main() -> Result<(), Box<dyn Error>> {
    // What is replaced is what was read: a write in between stays beside it.
    let before = ask("GET", "", "")?;
    let head = before.split("\r\n\r\n").next().unwrap_or_default();
    let context = head.lines().find(|line| line.starts_with("ringfort-context:"));
    let mut headers = String::from("Content-Type: application/json\r\n");
    if let Some(context) = context {
        headers += &format!("{context}\r\n");
    }
    println!("{}", ask("PUT", &headers, "{\"hello\": \"world\"}")?);
    Ok(())
}
