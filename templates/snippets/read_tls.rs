use ureq::tls::{RootCerts, TlsConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let token = std::env::var("RINGFORT_TOKEN")?;
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    let agent = ureq::Agent::config_builder().tls_config(tls).http_status_as_error(false).build().new_agent();

    let mut answer = agent
        .get("http://127.0.0.1:7480/v1/kv/bucket/key")
        .header("Authorization", format!("Bearer {token}"))
        .call()?;
    println!("{} {}", answer.status(), answer.body_mut().read_to_string()?);
    Ok(())
}
