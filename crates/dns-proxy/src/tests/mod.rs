mod bounds;
mod forwarding;
mod known;
mod lengths;
mod nameservers;
mod odd;
mod upstream;
mod world;
