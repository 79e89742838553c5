//! A small HTTP server for static files, so that fetches over HTTP can be compared with Phase.

use std::net::SocketAddr;
use std::path::PathBuf;

use axum::Router;
use tower_http::services::ServeDir;

/// Serve the files of a folder over HTTP
#[derive(clap::Args)]
pub(crate) struct HttpServe {
    /// The folder to serve
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// The address to listen on
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:80")]
    listen: SocketAddr,
}

impl HttpServe {
    pub(crate) fn run(self) -> Result<(), String> {
        let runtime = tokio::runtime::Runtime::new().map_err(|error| format!("cannot start threads: {error}"))?;
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind(self.listen).await;
            let listener = listener.map_err(|error| format!("cannot listen on {}: {error}", self.listen))?;
            println!("{}", serde_json::json!({ "listening": self.listen.to_string() }));
            let files = Router::new().fallback_service(ServeDir::new(self.root));
            axum::serve(listener, files).await.map_err(|error| format!("cannot serve: {error}"))
        })
    }
}
