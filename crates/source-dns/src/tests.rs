mod asking;
mod bounds;
mod following;
mod kinds;
mod script;
mod servers;
mod sharing;
