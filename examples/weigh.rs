//! Weights of two small groups on every path that this machine has.
use softadapt::host::{AdapterChoice, Context};
use softadapt::{Batch, Config, Plan, Shape, reference};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rows: [[f32; 5]; 3] = [[1., 2., 3., 4., 5.], [150., 100., 50., 10., 0.1], [1500., 1000., 500., 100., 1.]];
    let losses = rows.concat();
    let context = Context::new(&AdapterChoice::Any)?;
    println!("{}", context.adapter());
    for config in [Config::original(), Config::normalized(), Config::loss_weighted()] {
        let plan = Plan::new(config, Shape::new(1, 3, 5)?)?;
        let wide: Vec<f64> = losses.iter().map(|&l| f64::from(l)).collect();
        println!("{:?}", reference::weigh(&plan, &Batch::new(&wide))?);
        println!("{:?}", context.weigh(&plan, &Batch::new(&losses))?);
        let mut weights = vec![f32::NAN; 3];
        context.weigh_into(&plan, &Batch::new(&losses), &mut softadapt::Outputs::new(&mut weights))?;
        println!("{weights:?}");
    }
    Ok(())
}
