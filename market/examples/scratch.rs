use market::horizon::*; use market::solver::*; use market::*; use units::*;
struct R(u64);
impl R { fn n(&mut self)->f64{ self.0^=self.0<<13; self.0^=self.0>>7; self.0^=self.0<<17; (self.0>>11) as f64/(1u64<<53) as f64 } fn r(&mut self,a:i64,b:i64)->i64{ a+(self.n()*((b-a+1) as f64)) as i64 } }
fn day(seed:u64, shift:usize, noise:f64, cap:bool)->Horizon{
    let mut g=R(seed*7919+12345); for _ in 0..20 {g.n();}
    let n=100usize; let t_n=96usize;
    let mut branches=vec![];
    for i in 1..n { let parent = if i<4 {0} else { let lo = (i as i64 - 12).max(1); g.r(lo, i as i64-1) } as u32;
        branches.push((parent, g.r(0,3))); }
    let node_of:Vec<usize>=(0..100).map(|_| g.r(1,99) as usize).collect();
    let load:Vec<f64>=(0..100).map(|_| 100.0+ g.n()*300.0).collect();
    let pv:Vec<f64>=(0..100).map(|i| if i%2==0 {600.0+g.n()*1500.0} else {0.0}).collect();
    let mut batteries=vec![]; let mut evs=vec![];
    let pr=|e5| Price::from_e5_per_kwh(e5);
    for i in 0..100 { if i%10<3 { let c=g.r(4000,12000); let s=g.r(0,c); batteries.push(Battery{name:format!("b{i}"),node:Node(node_of[i] as u32),charge_cap:Energy::from_wh(c/8),discharge_cap:Energy::from_wh(c/8),min:Energy::from_wh(0),max:Energy::from_wh(c),start:Energy::from_wh(s),charge_ppm:950_000,discharge_ppm:950_000,wear:pr(g.r(10,80)*2*5),end:End::Value(pr(15_000)),class:Class::Any}); }
      if i%5==4 { let a=g.r(0,50) as usize; let d=a+g.r(20,45) as usize; let need=g.r(4000,20000); evs.push(Deferrable{name:format!("e{i}"),node:Node(node_of[i] as u32),arrival:a,departure:d.min(96),need:Energy::from_wh(need),cap:Energy::from_wh(2750),value:pr(30_000),penalty:pr(20_000)}); } }
    let mut ng=R(seed+99+shift as u64*31337); for _ in 0..20 {ng.n();}
    let mut flow=vec![0i64;n];
    let mut periods=vec![];
    for k in 0..t_n { let t=(k+shift)%96; let h=t as f64/4.0;
        let imp= if (17..21).contains(&(t/4)) {36_000} else if t/4<6 {24_000} else {30_000}+ (((t*37)%11) as i64)*50;
        let mut offers=vec![]; let mut net=vec![0i64;n];
        for i in 0..100 { let mut f=|x:f64| 1.0+noise*(2.0*ng.n()-1.0)*x; let shape=0.4+0.8*(-((h-19.0)/2.5).powi(2)).exp()+0.5*(-((h-8.0)/1.5).powi(2)).exp();
            let l=(load[i]*shape*f(1.0)) as i64; let s=((1.0-((h-12.5)/6.5).powi(2)).max(0.0)*pv[i]*f(1.0)) as i64;
            let nd=Node(node_of[i] as u32);
            if l>0 {offers.push(Offer::load(nd,Energy::from_wh(l),pr(60_000))); net[node_of[i]]+=l;}
            if s>0 {offers.push(Offer::generation(nd,Energy::from_wh(s))); net[node_of[i]]-=s;}
        }
        for i in (1..n).rev(){ let p=branches[i-1].0 as usize; let v=net[i]; flow[i]=flow[i].max(v.abs()); net[p]+=v; }
        periods.push(Period{supply:Supply::at(pr(imp),pr(8_000)),offers});
    }
    let bs=branches.iter().enumerate().map(|(i,(p,f))| { let mut c=UNCAPPED; if cap && i%10==3 { c=Energy::from_wh((flow[i+1] as f64*0.7) as i64+200); }
        Branch{name:format!("l{i}"),parent:Node(*p),import_cap:c,export_cap:c,fee:pr(f*200),tier:Tier::Street} }).collect();
    for e in &mut evs { e.arrival=e.arrival.saturating_sub(shift); e.departure=(e.departure-shift).max(e.arrival+1);}
    Horizon{first:Slot::new(1_600_000+shift as i64),grid:Grid::new(bs).unwrap(),periods,batteries,deferrables:evs,voltage:None}
}
fn cpu()->f64{ let s=std::fs::read_to_string("/proc/self/schedstat").unwrap(); s.split(' ').next().unwrap().parse::<f64>().unwrap()/1e9 }
fn main(){ for cap in [false,true] { let h=day(1,0,0.0,cap); let a=cpu(); let w=std::time::Duration::ZERO; let _=w;
   let o=scratch(&h,&mut MicroLp::default()); println!("cap {cap} {o:?} cpu {:.3}",cpu()-a); } }
