from twilio.rest import Client
client = Client()
client.messages.create(body="Hello", to="+1")
while True:
    client.messages.create(body="Hello", to="+1")
