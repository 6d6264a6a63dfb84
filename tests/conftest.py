import jax

jax.config.update("jax_platforms", "cpu")  # also where a GPU, or the compiler for one, is installed
jax.config.update("jax_num_cpu_devices", 8)
