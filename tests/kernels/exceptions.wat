;; Exceptions in flight: thrown through frames, caught by reference, kept in locals over calls and
;; loops, thrown again, swallowed by catch_all. The export `run` takes the scale and returns a sum;
;; `_start` prints the sum for the scale in argv[1].
(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (tag $small (param i32))
  (tag $pair (param i64 f64))
  (tag $bare)
  (global $sum (mut i32) (i32.const 7))

  (func $mix (param i32) (result i32)
    (global.set $sum (i32.add (i32.mul (global.get $sum) (i32.const 31)) (local.get 0)))
    (global.get $sum))

  (func $throw (param $depth i32) (param $kind i32) (result i32)
    (if (i32.eqz (local.get $depth)) (then
      (if (i32.eq (local.get $kind) (i32.const 0)) (then (throw $small (i32.const 5))))
      (if (i32.eq (local.get $kind) (i32.const 1)) (then (throw $pair (i64.const 77) (f64.const 1.5))))
      (if (i32.eq (local.get $kind) (i32.const 2)) (then (throw $bare)))
      (return (i32.const 1))))
    (i32.add (local.get $depth)
      (call $throw (i32.sub (local.get $depth) (i32.const 1)) (local.get $kind))))

  ;; Catches by reference, works while the exception is alive in a local, then throws it again.
  (func $hold (param $depth i32) (param $kind i32) (result i32)
    (local $exception exnref) (local $i i32)
    (block $caught (result exnref)
      (return (try_table (result i32) (catch_all_ref $caught)
        (call $throw (local.get $depth) (local.get $kind)))))
    (local.set $exception)
    (loop $again
      (drop (call $mix (local.get $i)))
      (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 3))))
    (throw_ref (local.get $exception)))

  (func $attempt (param $turn i32) (result i32)
    (local $x i64) (local $y f64)
    (block $other
      (block $pair (result i64 f64)
        (block $small (result i32)
          (return (call $mix
            (try_table (result i32) (catch $small $small) (catch $pair $pair) (catch_all $other)
              (call $hold (i32.rem_u (local.get $turn) (i32.const 9))
                          (i32.and (local.get $turn) (i32.const 3)))))))
        (return (call $mix)))
      (local.set $y)
      (local.set $x)
      (return (call $mix (i32.add (i32.wrap_i64 (local.get $x))
                                  (i32.trunc_f64_s (f64.mul (local.get $y) (f64.const 8)))))))
    (call $mix (i32.const 1000)))

  (func $run (export "run") (param $scale i32) (result i32)
    (local $turn i32)
    (loop $turns
      (drop (call $attempt (local.get $turn)))
      (br_if $turns (i32.lt_u (local.tee $turn (i32.add (local.get $turn) (i32.const 1)))
                              (local.get $scale))))
    (global.get $sum))

  (func (export "_start")
    (local $at i32) (local $scale i32) (local $value i32)
    (drop (call $args_sizes_get (i32.const 0) (i32.const 4)))
    (drop (call $args_get (i32.const 16) (i32.const 1024)))
    (local.set $scale (i32.const 20))
    (if (i32.gt_u (i32.load (i32.const 0)) (i32.const 1)) (then
      (local.set $scale (i32.const 0))
      (local.set $at (i32.load (i32.const 20)))
      (loop $digits
        (local.set $scale (i32.add (i32.mul (local.get $scale) (i32.const 10))
                                   (i32.sub (i32.load8_u (local.get $at)) (i32.const 48))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br_if $digits (i32.load8_u (local.get $at))))))
    (local.set $value (call $run (local.get $scale)))
    (local.set $at (i32.const 799))
    (i32.store8 (local.get $at) (i32.const 10))
    (loop $print
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $value) (i32.const 10))))
      (br_if $print (local.tee $value (i32.div_u (local.get $value) (i32.const 10)))))
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (i32.sub (i32.const 800) (local.get $at)))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
)
