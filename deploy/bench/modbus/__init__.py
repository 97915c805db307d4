"""`telomere bench modbus`: what the Modbus engine asks, reads and costs, beside plain pymodbus."""
