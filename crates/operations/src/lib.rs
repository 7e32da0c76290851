//! What callers may ask of Reeve: one file each. Adding one is a file and two lines here.

pub mod destination;
pub mod device_row;

pub mod add_device;
pub mod approve_host_key;
pub mod back_up;
pub mod change_device;
pub mod diagnose_device;
pub mod get_container_details;
pub mod get_device_info;
pub mod get_overview;
pub mod get_system_metrics;
pub mod import_devices;
pub mod link_devices;
pub mod list_audit;
pub mod list_containers;
pub mod list_devices;
pub mod query_metrics;
pub mod remove_device;
pub mod test_connection;
pub mod unlink_devices;

#[cfg(test)]
mod promises;

use domain::operation::OperationDef;

/// All of them, in the order in which people read about them.
pub fn all() -> Vec<OperationDef> {
    vec![
        OperationDef::of::<get_overview::GetOverview>(),
        OperationDef::of::<list_devices::ListDevices>(),
        OperationDef::of::<get_device_info::GetDeviceInfo>(),
        OperationDef::of::<diagnose_device::DiagnoseDevice>(),
        OperationDef::of::<test_connection::TestConnection>(),
        OperationDef::of::<list_containers::ListContainers>(),
        OperationDef::of::<get_container_details::GetContainerDetails>(),
        OperationDef::of::<get_system_metrics::GetSystemMetrics>(),
        OperationDef::of::<query_metrics::QueryMetrics>(),
        OperationDef::of::<add_device::AddDevice>(),
        OperationDef::of::<change_device::ChangeDevice>(),
        OperationDef::of::<remove_device::RemoveDevice>(),
        OperationDef::of::<import_devices::ImportDevices>(),
        OperationDef::of::<approve_host_key::ApproveHostKey>(),
        OperationDef::of::<link_devices::LinkDevices>(),
        OperationDef::of::<unlink_devices::UnlinkDevices>(),
        OperationDef::of::<list_audit::ListAudit>(),
        OperationDef::of::<back_up::BackUp>(),
    ]
}
