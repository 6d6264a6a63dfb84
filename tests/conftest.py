import jax

from src.plugins import take_cpu_beside_compiler

take_cpu_beside_compiler()
jax.config.update("jax_num_cpu_devices", 8)
