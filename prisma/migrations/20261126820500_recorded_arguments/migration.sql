-- AlterTable
ALTER TABLE "action" ADD COLUMN     "sealed_arguments" TEXT;
