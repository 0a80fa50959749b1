use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;

fn main() -> Result<(), Box<dyn Error>> {
    let token = std::env::var("RINGFORT_TOKEN")?;
    let path = "/v1/kv/bucket/key";
    let mut node = TcpStream::connect("127.0.0.1:7480")?;
    write!(
        node,
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:7480\r\n\
         Authorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    node.read_to_end(&mut answer)?;
    // The head with the status, an empty line, the value.
    std::io::stdout().write_all(&answer)?;
    Ok(())
}
