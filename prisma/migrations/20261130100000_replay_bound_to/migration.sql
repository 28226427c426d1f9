-- A platform's token may be shown again with the key that showed it first. What waits from before was shown once, and stays so.
ALTER TABLE "replay" ADD COLUMN     "bound_to" TEXT;
