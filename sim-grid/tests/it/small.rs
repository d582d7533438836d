//! A three-house street in a temporary folder, for tests that bend one line of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sim_grid::scenario::{Scenario, ScenarioError};
use tempfile::TempDir;

/// The files of a scenario by name.
pub type Files = BTreeMap<&'static str, String>;

/// Two houses and a business on one cable: H1 has PV, H2 a PV with a battery, B1 only load; one
/// hour of 2016-01-18, one tariff.
pub fn files() -> Files {
    let mut files = Files::from([
        ("grid/buses.csv", "bus_id,vn_kv,role,depth,source_name\nS,20,slack,0,\nA,0.4,bus,1,\nB,0.4,bus,2,\n".to_owned()),
        ("grid/lines.csv", "line_id,from_bus,to_bus,length_m,r_ohm,x_ohm,c_nf,max_i_ka,std_type\nL1,A,B,100,0.02,0.008,0,0.27,NAYY\n".to_owned()),
        ("grid/transformers.csv", "trafo_id,hv_bus,lv_bus,sn_kva,vn_hv_kv,vn_lv_kv,vk_percent,vkr_percent,pfe_kw,i0_percent,tap_factor_hv,ratio_pu,r_lv_ohm,x_lv_ohm,shift_degree,std_type\nT1,S,A,400,20,0.4,6,1.2,1.2,0.3,1,1,0.0048,0.0235,150,x\n".to_owned()),
        ("grid/slack.csv", "bus_id,vm_pu,va_degree\nS,1.025,0\n".to_owned()),
        ("customers.csv", "customer_id,bus_id,type,simbench_profile\nH1,A,household,H0-A\nH2,B,household,H0-B\nB1,B,business,G1-A\n".to_owned()),
        ("devices.csv", "device_id,customer_id,bus_id,kind,simbench_profile,p_rated_kw,q_rated_kvar,s_rated_kva,energy_kwh,efficiency,self_discharge_per_day\nH1.base,H1,A,base,x,4,1,4,,,\nH2.base,H2,B,base,x,4,1,4,,,\nB1.base,B1,B,base,x,9,1,9,,,\nH1.pv,H1,A,pv,x,6,0,6,,,\nH2.pvb,H2,B,pv_battery,x,8,0,2,4,0.95,0\n".to_owned()),
    ]);
    series(&mut files, "tariffs.csv", "flat_retail_e5,flat_feedin_e5", |_| {
        "28800,12310".to_owned()
    });
    series(&mut files, "ts/base_p_kw.csv", "H1,H2,B1", |_| "0.5,0.4,3.3333".to_owned());
    series(&mut files, "ts/load_q_kvar.csv", "H1,H2,B1", |_| "0.1,-0.05,1.0".to_owned());
    series(&mut files, "ts/pv_p_kw.csv", "H1", |i| format!("{i}.0"));
    series(&mut files, "ts/pvbat_raw_pv_p_kw.csv", "H2", |i| {
        format!("{}", [6.0, 0.0, 1.4, 0.4][i])
    });
    files
}

/// Writes a series of four rows from t = 1632.
pub fn series(files: &mut Files, file: &'static str, columns: &str, row: impl Fn(usize) -> String) {
    let mut text = format!("t,timestamp_utc,{columns}\n");
    for i in 0..4 {
        let minute = i * 15;
        text += &format!("{},2016-01-18T00:{minute:02}:00Z,{}\n", 1632 + i, row(i));
    }
    files.insert(file, text);
}

/// Writes the files into a folder.
pub fn write(files: &Files, folder: &Path) {
    for (name, text) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a file has a parent")).expect("create");
        fs::write(path, text).expect("write");
    }
}

/// Writes the files and loads them as a scenario.
pub fn load(files: &Files) -> Result<Scenario, ScenarioError> {
    let folder = TempDir::new().expect("a temporary folder");
    write(files, folder.path());
    Scenario::load(folder.path())
}
