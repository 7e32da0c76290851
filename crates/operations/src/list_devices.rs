//! `list_devices`: the fleet, a row for each device.

use domain::context::Context;
use domain::device::Status;
use domain::listing::{Listing, Page};
use domain::operation::{Effect, Operation, Route, Toolset};
use domain::{Result, Untrusted};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::device_row::{DeviceRow, missing};

/// Lists the devices: what each is, how it is doing and why, its headline figures.
///
/// Figures are as known from the last poll; a figure that is too old is left out.
#[derive(Deserialize, JsonSchema)]
pub struct ListDevices {
    /// Only devices of this kind, such as `unraid`, `proxmox`, `ubuntu_vm`, `debian`.
    device_type: Option<String>,
    /// Only devices that are doing so.
    status: Option<Status>,
    /// Only devices with this tag.
    tag: Option<String>,
    /// Only devices that are polled, or only those that are not.
    monitored: Option<bool>,
    /// Only devices at this place.
    location: Option<String>,
    /// Only devices in whose name, place, tags or operating system this text occurs.
    search: Option<String>,
    #[serde(flatten)]
    page: Page,
}

impl Operation for ListDevices {
    const NAME: &'static str = "list_devices";
    const EFFECT: Effect = Effect::Read;
    const ROUTE: Route = Route::get("/devices");
    const TOOLSET: Toolset = Toolset::Fleet;
    type Output = Listing<DeviceRow>;

    async fn run(self, ctx: &Context) -> Result<Self::Output> {
        let devices = ctx.fleet().devices();
        let mut rows: Vec<DeviceRow> = devices.iter().map(|device| DeviceRow::of(ctx, device)).collect();
        rows.retain(|row| self.matches(row));
        let shown = devices.iter().filter(|device| rows.iter().any(|row| row.name == device.name));
        let problems = shown.filter_map(|device| missing(ctx, device)).collect();
        Listing::new(summary(&rows), &rows, problems, &self.page)
    }
}

impl ListDevices {
    fn matches(&self, row: &DeviceRow) -> bool {
        let is = |wanted: &Option<String>, value: Option<&str>| {
            wanted
                .as_deref()
                .is_none_or(|wanted| value.is_some_and(|value| value.eq_ignore_ascii_case(wanted)))
        };
        is(&self.device_type, row.device_type.as_deref())
            && is(&self.location, row.location.as_deref())
            && self.status.is_none_or(|status| row.status == status)
            && self.monitored.is_none_or(|monitored| row.monitored == monitored)
            && self.tag.as_ref().is_none_or(|tag| row.tags.contains(tag))
            && self.search.as_ref().is_none_or(|text| occurs(row, text))
    }
}

fn occurs(row: &DeviceRow, text: &str) -> bool {
    let text = text.to_lowercase();
    let words = [Some(row.name.as_str()), row.location.as_deref(), row.os.as_ref().map(Untrusted::as_str)];
    let all = words.into_iter().flatten().chain(row.tags.iter().map(String::as_str));
    all.into_iter().any(|word| word.to_lowercase().contains(&text))
}

/// `4 devices: 3 online, 1 offline (nas)`.
fn summary(rows: &[DeviceRow]) -> String {
    let mut parts = Vec::new();
    for status in Status::ALL {
        let names: Vec<&str> = rows.iter().filter(|r| r.status == status).map(|r| r.name.as_str()).collect();
        match (names.len(), status) {
            (0, _) => {}
            (count, Status::Online) => parts.push(format!("{count} online")),
            (count, _) => parts.push(format!("{count} {} ({})", status.name(), first_few(&names))),
        }
    }
    match rows.len() {
        0 => "no device matches".to_owned(),
        1 => format!("1 device: {}", parts.join(", ")),
        count => format!("{count} devices: {}", parts.join(", ")),
    }
}

/// At most five names, and how many more there are.
pub(crate) fn first_few(names: &[&str]) -> String {
    let shown = names.iter().take(5).copied().collect::<Vec<_>>().join(", ");
    if names.len() > 5 { format!("{shown} and {} more", names.len() - 5) } else { shown }
}
