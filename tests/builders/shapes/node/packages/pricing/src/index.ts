export const prices: readonly number[] = [10, 20, 30];
