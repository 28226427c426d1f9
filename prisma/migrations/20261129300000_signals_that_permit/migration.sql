-- A signal that somebody is back gives something, as one that ends does not: it counts by its proof. What waits from before has none, and is signalled again.
ALTER TABLE "signal" ADD COLUMN     "proof" TEXT NOT NULL DEFAULT '';
