mod pods;
mod review;
mod telling;
mod validate;
