mod following;
mod script;
mod servers;
