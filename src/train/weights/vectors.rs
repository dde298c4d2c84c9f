//! Norms and other small tensors that learn: candle variables, whose gradients come out of the backward pass.

use candle_core::{Device, Tensor, Var};

use super::{ElementOrder, Trained};
use crate::ops::{Gradients, Real};

/// Tensors that learn outside of packed weights.
pub struct Vectors<T = f32>(Vec<Vector<T>>);

struct Vector<T> {
    name: String,
    /// The model holds a tensor of the same storage.
    var: Var,
    values: Vec<T>,
    gradient: Vec<T>,
}

impl<T> Default for Vectors<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Real> Vectors<T> {
    /// Puts a variable in a tensor's place.
    ///
    /// # Errors
    /// A tensor of another type.
    pub fn take(&mut self, name: String, tensor: &mut Tensor) -> candle_core::Result<()> {
        let var = Var::from_tensor(&tensor.copy()?)?;
        let values = var.flatten_all()?.to_vec1::<T>()?;
        *tensor = var.as_tensor().clone();
        self.0.push(Vector { name, gradient: vec![T::zero(); values.len()], values, var });
        Ok(())
    }

    /// Adds what a backward pass found.
    ///
    /// # Errors
    /// None that a backward pass of f32 gives rise to.
    pub fn collect(&mut self, gradients: &Gradients) -> candle_core::Result<()> {
        for vector in &mut self.0 {
            let Some(gradient) = gradients.get(vector.var.as_tensor()) else { continue };
            let gradient = gradient.flatten_all()?.to_vec1::<T>()?;
            vector.gradient.iter_mut().zip(gradient).for_each(|(sum, x)| *sum += x);
        }
        Ok(())
    }

    /// Those that `wanted` names.
    pub fn trained<'a>(&'a mut self, wanted: &dyn Fn(&str) -> bool, to: &mut Vec<Trained<'a, T>>) {
        for Vector { name, var, values, gradient } in &mut self.0 {
            if wanted(name) {
                let (name, shape) = (name.clone(), var.dims().to_vec());
                to.push(Trained { name, shape, order: ElementOrder::RowMajor, values, gradient });
            }
        }
    }

    /// Puts changed values into the model.
    ///
    /// # Errors
    /// None that a variable of the same shape gives rise to.
    pub fn refresh(&mut self) -> candle_core::Result<()> {
        for Vector { var, values, .. } in &mut self.0 {
            var.set(&Tensor::from_slice(values, var.shape(), &Device::Cpu)?)?;
        }
        Ok(())
    }
}
