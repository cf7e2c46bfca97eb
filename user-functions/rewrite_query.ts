import type { RewriteQuery } from 'pgswitchyard';

/** Two reports that join and add up all sales are answered from tables that hold the sums already. */
const REPORTS = new Map([
  [
    'SELECT storename, SUM(total) FROM sales JOIN store USING (storeid) GROUP BY storename ORDER BY storename',
    'SELECT storename, total FROM store_sales ORDER BY storename',
  ],
  [
    'SELECT prodname, SUM(total) FROM sales JOIN product USING (productid) GROUP BY prodname ORDER BY prodname',
    'SELECT prodname, total FROM product_sales ORDER BY prodname',
  ],
]);

/** None of the reports is longer: a query that is need not be looked at. */
const LONGEST = 1_000;

export const rewrite_query: RewriteQuery = (username, query) => {
  if (query.length > LONGEST) return null;
  return (
    REPORTS.get(
      query
        .replace(/\s+/g, ' ')
        .replace(/\s*;\s*$/, '')
        .trim(),
    ) ?? null
  );
};
