mod asking;
mod bounds;
mod following;
mod script;
mod servers;
mod sharing;
