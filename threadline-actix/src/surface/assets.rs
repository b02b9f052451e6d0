//! What pages load besides themselves: one style sheet, one script, three fonts. All of it is in the program; its names carry
//! its content, so browsers keep it for ever.

use std::sync::LazyLock;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse};
use sha2::{Digest, Sha256};

struct Asset {
    name: String,
    media_type: &'static str,
    content: Vec<u8>,
}

/// Where pages find what they load, relative to the mount.
pub(super) struct Assets {
    assets: Vec<Asset>,
    /// The style sheet.
    pub(super) css: String,
    /// The style sheet of the fonts.
    pub(super) fonts: String,
    /// The script.
    pub(super) js: String,
    /// The mark of the product.
    pub(super) mark: String,
    /// The font of text, which each page needs at once.
    pub(super) text_font: String,
}

pub(super) static ASSETS: LazyLock<Assets> = LazyLock::new(Assets::new);

impl Assets {
    fn new() -> Self {
        let mut assets = Vec::new();
        let mut add = |name: &str, media_type, content: &[u8]| {
            let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
            let digest: String =
                Sha256::digest(content).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            let name = format!("{stem}-{digest}.{extension}");
            assets.push(Asset { name: name.clone(), media_type, content: content.to_vec() });
            name
        };
        let woff2 = "font/woff2";
        let regular = add("geist-400.woff2", woff2, include_bytes!("../../assets/fonts/geist-400.woff2"));
        let bold = add("geist-600.woff2", woff2, include_bytes!("../../assets/fonts/geist-600.woff2"));
        let mono =
            add("plex-mono-400.woff2", woff2, include_bytes!("../../assets/fonts/plex-mono-400.woff2"));
        let face = |family, weight, file: &str| {
            format!(
                "@font-face{{font-family:\"{family}\";font-weight:{weight};font-display:swap;src:url({file}) format(\"woff2\")}}\n"
            )
        };
        let faces =
            face("Geist", 400, &regular) + &face("Geist", 600, &bold) + &face("IBM Plex Mono", 400, &mono);
        let css = "text/css; charset=utf-8";
        let path = |name| format!("assets/{name}");
        Self {
            fonts: path(add("fonts.css", css, faces.as_bytes())),
            css: path(add("threadline.css", css, include_bytes!("../../assets/threadline.css"))),
            js: path(add(
                "threadline.js",
                "text/javascript; charset=utf-8",
                include_bytes!("../../assets/threadline.js"),
            )),
            mark: path(add("mark.svg", "image/svg+xml", include_bytes!("../../assets/mark.svg"))),
            text_font: path(regular),
            assets,
        }
    }
}

/// Hands one of them out, to anybody: they are the same for everybody, and say nothing.
pub(super) async fn serve(request: HttpRequest) -> HttpResponse {
    let name = request.match_info().query("name");
    match ASSETS.assets.iter().find(|asset| asset.name == name) {
        None => HttpResponse::NotFound().finish(),
        Some(asset) => HttpResponse::Ok()
            .insert_header((CONTENT_TYPE, asset.media_type))
            .insert_header((CACHE_CONTROL, "public, max-age=31536000, immutable"))
            .body(asset.content.as_slice()),
    }
}
