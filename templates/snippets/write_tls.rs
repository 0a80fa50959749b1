use ureq::tls::{RootCerts, TlsConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let authorization = format!("Bearer {}", std::env::var("RINGFORT_TOKEN")?);
    let url = "http://127.0.0.1:7480/v1/kv/bucket/key";
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    let agent = ureq::Agent::config_builder().tls_config(tls).http_status_as_error(false).build().new_agent();

    // What is replaced is what was read: a write in between stays beside it.
    let before = agent.get(url).header("Authorization", &authorization).call()?;
    let mut request = agent.put(url).header("Authorization", &authorization);
    if let Some(context) = before.headers().get("Ringfort-Context") {
        request = request.header("Ringfort-Context", context);
    }

    let mut receipt = request.header("Content-Type", "application/json").send("{\"hello\": \"world\"}")?;
    println!("{} {}", receipt.status(), receipt.body_mut().read_to_string()?);
    Ok(())
}
