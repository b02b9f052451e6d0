//! The questions that who asks keeps. They are saved and forgotten at their pages.

use actix_web::HttpResponse;
use serde::Serialize;
use threadline::views::SavedView;

use super::asked::Asked;
use super::document::document;
use super::endpoint::Endpoint;
use crate::surface::failure::Failure;
use crate::surface::screen::Screen;
use crate::surface::screens::list_views;
use crate::surface::visit::Visit;

pub(super) const VIEWS: Endpoint = Endpoint {
    name: "views",
    path: "/views",
    screen: Screen::Views,
    summary: "The saved views of who asks",
    description: "What was saved last first, 100 at most. None of another's.",
    parameters: &[],
    schema: "views",
    handler: |visit, asked| Box::pin(views(visit, asked)),
};

async fn views(visit: &Visit, asked: Asked) -> Result<HttpResponse, Failure> {
    #[derive(Serialize)]
    struct Views {
        views: Vec<SavedView>,
    }
    asked.end()?;
    document(&Views { views: list_views(visit).await? })
}
