/* move.pml -- SEND+MOVE applied at once: the sender's unit becomes the ticket in the
 * transaction that reads the message, instead of ticket now and unit one epoch later.
 *
 * Process P has two threads and one unit on the object.  PB shares it with R over channel 1
 * and drops its local reference; PA, whose is then the last one, moves it to Q over channel
 * 0.  Q drops what it got (ABSORB), or makes a holding of it and moves that on to R over
 * channel 2, or dies at any step.  R takes from both channels.
 *   NOWAIT   when Q is gone, the tickets of its channel are dropped in the epoch in which the
 *            channel closes, not one whole epoch later (wrong: the ticket is all that is
 *            left of the sender's unit, and PB's SEND may not be read yet)
 *   CLOSED   a MOVE to a closed channel drops the sender's unit at once, too (wrong)
 *   NODELAY  ABSORB and RECV drop the ticket in the epoch in which they are read (wrong)
 *   NOT      as before: no transfer (right)
 *   REV      lanes are sampled in the other order
 */
#define CAP 4
#define SEND 1   /* arg: channel */
#define MOVE 2
#define RECV 3
#define ABSORB 4
#define REL 5
#define LANES 4  /* 0 PA, 1 PB, 2 Q, 3 R */
#define CH 3
byte kind[LANES*CAP], arg[LANES*CAP], tail[LANES], A[LANES], B[LANES];
bool slot[CH];                     /* published in the channel */
bool local_b = 1;                  /* PB's local reference */
bool exitedQ, doneR, donePA, freed;
byte hold[LANES], ts[CH];          /* units by process (P is 0); 0 none, 1 ticket, 2 gone */
bool closed, quiet;

#define POST(L,k,a) assert(tail[L] < CAP); kind[(L)*CAP+tail[L]] = k; arg[(L)*CAP+tail[L]] = a; tail[L]++
#define PROC(L) ((L) == 1 -> 0 : (L))
#define SUM (hold[0] + hold[2] + hold[3] + (ts[0] == 1) + (ts[1] == 1) + (ts[2] == 1))
#define LOOK if :: SUM == 0 -> freed = 1 :: else fi

proctype PB() {
  atomic { assert(!freed); POST(1, SEND, 1) }
  slot[1] = 1;
  local_b = 0
}
proctype PA() {
  !local_b;                        /* the last reference is ours */
  atomic { assert(!freed); POST(0, MOVE, 0) }
  slot[0] = 1;
  donePA = 1
}
proctype Q() {
  if :: atomic { slot[0] -> assert(!freed) } :: goto dead fi;
  if
  :: atomic { assert(!freed); POST(2, ABSORB, 0) }
  :: atomic { assert(!freed); POST(2, RECV, 0) };
     if :: atomic { assert(!freed); POST(2, MOVE, 2) } :: goto dead fi;
     slot[2] = 1
  :: goto dead
  fi;
dead:
  exitedQ = 1
}
proctype R() {
  bool one, two;
  do
  :: atomic { slot[1] && !one -> assert(!freed) };
     if
     :: atomic { assert(!freed); POST(3, RECV, 1) }; atomic { assert(!freed); POST(3, REL, 0) }
     :: atomic { assert(!freed); POST(3, ABSORB, 1) }
     fi; one = 1
  :: atomic { slot[2] && !two -> assert(!freed) };
     atomic { assert(!freed); POST(3, ABSORB, 2) }; two = 1
  :: atomic { one && (two || exitedQ && !slot[2]) -> break }
  od;
  atomic { one = 0; two = 0; doneR = 1 }
}

inline classA(i, l) {
  if
  :: kind[i] == SEND -> assert(!freed); ts[arg[i]] = 1
  :: kind[i] == MOVE -> assert(!freed);
     if
     :: arg[i] == 0 && closed ->   /* publish only; the unit goes one epoch later */
#ifdef CLOSED
        hold[PROC(l)]--; LOOK; kind[i] = 0
#else
        kind[i] = REL
#endif
     :: else ->
        ts[arg[i]] = 1;
#ifndef NOT
        if
        :: hold[PROC(l)] > 0 -> hold[PROC(l)]--; kind[i] = 0   /* the transfer */
        :: else -> kind[i] = REL   /* its unit is not booked yet */
        fi
#else
        kind[i] = REL
#endif
     fi
  :: kind[i] == RECV -> assert(!freed); hold[PROC(l)]++
  :: else
  fi
}
inline classB(i, l) {
  if
  :: kind[i] == RECV || kind[i] == ABSORB ->
     if :: ts[arg[i]] == 1 -> ts[arg[i]] = 2 :: else fi   /* the channel may be closed */
  :: kind[i] == REL -> assert(hold[PROC(l)] > 0); hold[PROC(l)]--
  :: else
  fi;
  LOOK;
  kind[i] = 0; arg[i] = 0
}
#define WORK (tail[0] > B[0] || tail[1] > B[1] || tail[2] > B[2] || tail[3] > B[3])
#define DYING (exitedQ && st < 5)

proctype Server() {
  byte l, lim[LANES], bar[LANES], st;
end:
  do
  :: atomic { WORK || DYING ->
       if :: st == 0 && exitedQ -> st = 1 :: else fi;
       l = 0; do :: l < LANES -> lim[l] = A[l]; l++ :: else -> break od; l = 0 }
#ifndef REV
     bar[0] = tail[0]; bar[1] = tail[1]; bar[2] = tail[2]; bar[3] = tail[3];
#else
     bar[3] = tail[3]; bar[2] = tail[2]; bar[1] = tail[1]; bar[0] = tail[0];
#endif
     atomic {
       l = 0;
       do
       :: l < LANES -> do :: A[l] < bar[l] -> classA(l*CAP+A[l], l); A[l]++ :: else -> break od; l++
       :: else -> break
       od;
#ifdef NODELAY
       lim[0] = A[0]; lim[1] = A[1]; lim[2] = A[2]; lim[3] = A[3];
#endif
       l = 0;
       do
       :: l < LANES -> do :: B[l] < lim[l] -> classB(l*CAP+B[l], l); B[l]++ :: else -> break od; l++
       :: else -> break
       od;
       l = 0; do :: l < LANES -> lim[l] = 0; bar[l] = 0; l++ :: else -> break od; l = 0;
       if
       :: st == 3 ->                 /* one whole epoch after the channel closed */
          if :: ts[0] == 1 -> ts[0] = 2 :: else fi; st = 5
       :: st == 2 ->                 /* the second epoch after the death was seen */
          closed = 1; hold[2] = 0;
#ifdef NOWAIT
          if :: ts[0] == 1 -> ts[0] = 2 :: else fi; st = 5
#else
          st = 3
#endif
       :: st == 1 -> st = 2
       :: else
       fi;
       LOOK
     }
  :: atomic { doneR && donePA && exitedQ && !WORK && !DYING -> break }
  od;
  assert(freed);
  quiet = 1
}
init { atomic { hold[0] = 1; run PB(); run PA(); run Q(); run R(); run Server() } }
