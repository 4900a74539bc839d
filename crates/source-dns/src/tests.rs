mod following;
mod servers;
