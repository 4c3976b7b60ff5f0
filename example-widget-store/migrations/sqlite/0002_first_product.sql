INSERT INTO products (product_id, product, description, inventory, price)
VALUES (1, 'Premium Quality Widget', 'Enhance your productivity with our top-rated widgets!', 100, '99.99')
ON CONFLICT DO NOTHING;
